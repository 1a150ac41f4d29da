"""Importers: each turns the files of another program into a folder for `CustomDataset`."""
