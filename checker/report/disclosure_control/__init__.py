"""What a shared report may show: primary and secondary suppression, and rounding."""
