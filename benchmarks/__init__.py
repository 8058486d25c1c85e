"""Measurements, as ratios within one run: ``make bench`` runs all subjects, ``make bench NAME=realism`` one of them."""
