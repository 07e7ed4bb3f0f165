"""Let `python -m panvision` be the `panvision` command."""

import sys

from panvision.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
