"""What is pushed onto a board and run there: it checks, times and weighs models, and needs only NumPy and a runtime.

    python3 runner TASK FILE

    TASK: check | load | rounds | energy | count | visits | decode

Python 3.8 and onnxruntime 1.16 or newer do; `count` needs an emulator that counts (`counting.py`) and fork besides.

The files of this folder import each other and nothing else of this project, so that the folder works wherever it is
copied to; the project itself imports them as well, and times with the same code. FILE is JSON: a list of jobs, or

    {"jobs": [...], "min_runs": 50, "min_seconds": 1.0, "min_rounds": 0, "warmup_seconds": 0.5, "samples": false,
     "first_round": 0, "energy_seconds": 2.0, "idle_seconds": 1.0, "count_runs": 5,
     "uncounted_runs": 10, "answers": 3, "answer_seconds": 1.0, "root": "/"}

and for `visits` besides

    {"reference": JOB, "visits": [{"id": "0", "job": "a", "nodes": true, "graph": true}], "blocks": 8,
     "block_seconds": 0.03}

`first_round` is the number of the first round (an interrupted run goes on), `samples` asks for single runs besides
the medians, `root` is where /sys is looked for. A job is

    {"model": "a.onnx", "inputs": {NAME: INPUT}, "threads": 4, "id": "0",
     "providers": ["CPUExecutionProvider"], "config": {SESSION OPTION: VALUE}, "operators": "model_ops.so",
     "done": {"runs": 0, "seconds": 0.0, "rounds": 0},
     "golden": {"npz": "golden.npz", "inputs": [NAME], "outputs": [NAME], "ties": 0.05, "configs": [{}]}}

of which `model` and `inputs` are required; `id` is its place in the list unless given, `threads` 0 leaves them to
the runtime, `operators` are a library that the model needs, `done` is what an interrupted run had. Paths are relative
to FILE. An INPUT is one of

    {"shape": [1, 3, 8, 8], "dtype": "float32", "low": -1.0, "high": 1.0}        drawn uniformly, the same each time
    {"npz": "golden.npz", "key": "x", "batch": 1}        an array (`key` is the input's name unless given), its first
                                                         dimension cut or repeated to `batch` where that is given

For `decode` a job of a decoder with a key–value cache has besides, its inputs as the manifest has them,

    {"decoder": {"inputs": [{"name", "dtype", "shape"}], "tokens": NAME, "scores": NAME, "vocabulary": 32000,
                 "batch": 1, "read": 128, "steps": 32}}

For `rounds` and `energy` it may also be a model that another program runs (`worker.py`):

    {"worker": {"program": "runner-tvm/runner", "document": "1/serve"}, "id": "1", "done": {"runs": 0, "seconds": 0.0}}

stdout is one JSON object a line, `event` says which:

    description   versions, providers, the power sensor, and the state below          (first)
    golden        id, errors: relative RMS error by output
    loaded        id, load_ms, first_ms, peak_bytes, before_bytes, providers, errors
    round         index, clock_mhz, blocks: {id: {runs, seconds, median_ms, min_ms, sample_ms}}
    energy        id, joules, runs, seconds, idle_watts, sensor, samples
    counted       id, instructions: the median of single runs, on one thread; spread: most less fewest; runs
    visit         id, job, seconds, blocks: [[median_ms, reference before, reference after]], and where `nodes` was
                  asked for nodes: {name: microseconds}, graph: the optimized model in base64
    decoded       id, first_ms, token_ms: medians; read, steps: tokens read at once, and after that; runs: answers
    failed        id, kind: unsupported | load | run | inputs | count, reason: that job is left out
    state         temperatures, limits, clocks, throttled, power_mode (after `rounds` and `energy`)
    missing       package: what there is no running without
    done          last, where all went to its end
"""
