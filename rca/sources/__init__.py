"""Where data sets come from: one module per `download.source`, each with `bring(cfg, out)`.

Whatever the source, `out` ends, whole or not at all, in the one layout that
`rca/data/voc_folder.py` describes, with `source.json` beside it for what the source alone knows.
"""
