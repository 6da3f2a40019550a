"""The sources of data sets: one module per `download.source`, each with `bring(cfg, out)`.

Whatever the source, `out` gets the one layout that `rca/data/voc_folder.py` describes, completely
or not at all, with `source.json` beside it for what only the source knows.
"""
