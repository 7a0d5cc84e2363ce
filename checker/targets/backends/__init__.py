"""What opens models: one module a kind of file; none imports torch before it opens one."""
