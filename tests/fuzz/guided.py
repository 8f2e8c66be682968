"""Coverage-guided fuzzing of one reader by atheris, which has to be installed by hand:

    python -m tests.fuzz.guided "csv tables" [options of libFuzzer, such as -max_total_time=60]

The bytes that atheris invents are the content of one of the reader's files, the others being valid.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # where the helpers of the tests are

import atheris  # pyright: ignore[reportMissingImports, reportMissingModuleSource]

with atheris.instrument_imports(include=["benchmark"]):  # pyright: ignore[reportAttributeAccessIssue]
    from fuzz.readers import READERS
    from fuzz.run import judge, memory_folder, put


def main() -> None:
    reader = READERS[sys.argv[1]]
    seed = reader.seed()
    with memory_folder() as folder:
        corpus = folder / "corpus"
        for number, content in enumerate(seed.values()):
            put(corpus, {f"{number}": bytes([number]) + content})

        def one(data: bytes) -> None:
            path = list(seed)[(data[0] if data else 0) % len(seed)]
            put(folder, {**seed, path: data[1:]})
            judge(reader, folder)

        atheris.Setup([sys.argv[0], *sys.argv[2:], str(corpus)], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
