"""What makes DVC, Snakemake and Slurm work together, and the checks of what comes out."""
