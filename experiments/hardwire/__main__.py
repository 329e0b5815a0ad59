"""``python -m hardwire`` is the command ``hardwire``."""

from hardwire.experiments.cli.app import main

if __name__ == "__main__":
    main()
