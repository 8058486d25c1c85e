"""Measurements as ratios: ``make bench`` runs all of them, ``make bench NAME=realism`` one."""
