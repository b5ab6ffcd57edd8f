"""Published data sets, one file each: where their files lie and how they become rows of the common schema."""
