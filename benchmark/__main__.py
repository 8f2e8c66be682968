"""``python -m benchmark`` is ``transrec``."""

from benchmark.cli import main

if __name__ == "__main__":
    main()
