"""Many boards on a Dask cluster."""
