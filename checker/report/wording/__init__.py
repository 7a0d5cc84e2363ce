"""The words of reports: all formats take theirs from here, so that none says more than another."""
