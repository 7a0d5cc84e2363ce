"""The formats a report is written in, a module each, and what a format has to give."""
