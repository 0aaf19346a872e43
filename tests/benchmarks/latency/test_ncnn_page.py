"""The reader of ncnn's page, on an excerpt in its format with made-up figures."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))

from latency.ncnn_page import measurements

PAGE = """Usage
```
$ ./benchncnn [loop count] [num threads]
```
Typical output

### Some Board (Cortex-A72 1.8GHz x 4)
```
user@board:~$ ./benchncnn 8 4 2 -1 1
loop_count = 8
num_threads = 4
powersave = 2
gpu_device = -1
cooling_down = 1
          squeezenet  min =    8.80  max =    8.89  avg =    8.87
     squeezenet_int8  min =   11.86  max =   11.98  avg =   11.89

user@board:~$ ./benchncnn 8 1 0 0 1
loop_count = 8
num_threads = 1
powersave = 0
gpu_device = 0
          squeezenet  min =    1.00  max =    1.00  avg =    1.00
```

Old Board
```
loop_count = 8
num_threads = 1
powersave = 0
           vgg16  min = 1019.35  max = 1022.75  avg = 1021.26
```
"""


def test_cpu_rows_are_read_with_their_board_and_settings() -> None:
    board = "Some Board (Cortex-A72 1.8GHz x 4)"
    assert list(measurements(PAGE)) == [
        (board, "4", "2", "squeezenet", 8.8, 8.89, 8.87),
        (board, "4", "2", "squeezenet_int8", 11.86, 11.98, 11.89),
        ("Old Board", "1", "0", "vgg16", 1019.35, 1022.75, 1021.26),
    ]


def test_a_page_without_runs_has_no_rows() -> None:
    assert list(measurements("# Title\n```\nsqueezenet  min = 1  max = 2  avg = 1\n```\n")) == []
