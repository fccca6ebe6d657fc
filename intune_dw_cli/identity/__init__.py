"""Who we are: token sources, and the clouds with their hosts."""
