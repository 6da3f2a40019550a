"""The code that makes DVC, Snakemake and Slurm work together, and the checks of the results."""
