#!/bin/sh
# pythons.sh [python3.N...]: the unit tests with each of these, or with every Python from 3.11 to
# 3.14 that is here. What pybootd needs must come as wheels, so that no compiler is needed.
set -eu
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- python3.11 python3.12 python3.13 python3.14
failed=0
for name in "$@"; do
    # a name on PATH may stand for a Python that is not installed; pyenv keeps its own elsewhere
    python=
    for file in "$name" "$HOME"/.pyenv/versions/"${name#python}"*/bin/"$name"; do
        python=$("$file" -c 'import sys; print(sys.executable)' 2>/dev/null) && break
    done
    if [ -z "$python" ]; then
        echo "$name: not here"
        continue
    fi
    folder=.cache/pythons/$(basename "$name")
    rm -rf "$folder"
    mkdir -p "$folder"
    began=$(date +%s)
    if "$python" -m venv "$folder/venv" &&
        "$folder/venv/bin/pip" install -qq --disable-pip-version-check --only-binary :all: \
            --no-binary pybootd --editable '.[test]' &&
        "$folder/venv/bin/pip" wheel -qq --disable-pip-version-check --no-deps -w "$folder" . &&
        "$folder/venv/bin/pytest" -q -n 2 -p no:cacheprovider -m 'not net and not boot' \
            >"$folder/log" 2>&1; then
        said=passed
    else
        said=FAILED failed=1
        [ ! -e "$folder/log" ] || tail -n 40 "$folder/log"
    fi
    counts=$([ ! -e "$folder/log" ] || tail -n 1 "$folder/log")
    echo "$("$python" --version) $said in $(($(date +%s) - began)) s: $counts $(basename "$folder"/*.whl)"
done
exit $failed
