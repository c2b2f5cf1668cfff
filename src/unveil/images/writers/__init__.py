"""Containers written again without some of their pictures, one file per family of formats."""
