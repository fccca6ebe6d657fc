"""What rows become: DateKey arithmetic, CSDL to Arrow, page text to record batches, CSV and Parquet files."""
