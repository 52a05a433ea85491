"""`python -m autobatch` is `autobatch`, for the environment of that Python."""

from autobatch.ui.cli import main

if __name__ == "__main__":
    main()
