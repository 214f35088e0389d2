# Completion for bash: source it, or copy it to /usr/share/bash-completion/completions/pybootd.
# What there is, pybootd --help says.

_pybootd() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
    local program=${COMP_WORDS[0]} command='' words='' line
    case $before in
        -c | --config)
            mapfile -t COMPREPLY < <(compgen -f -- "$word")
            return
            ;;
    esac
    if ((COMP_CWORD > 1)) && [[ ${COMP_WORDS[1]} != -* ]]; then
        command=${COMP_WORDS[1]}
    fi
    while IFS= read -r line; do
        # "  -c FILE, --config FILE   what it is", or "  demo   what it is"
        if [[ $line =~ ^\ \ (-.*) ]]; then
            line=${BASH_REMATCH[1]%%  *}
            for line in ${line//,/ }; do
                [[ $line == -* ]] && words+=" $line"
            done
        elif [[ -z $command && $line =~ ^\ \ ([a-z]+)\  ]]; then
            words+=" ${BASH_REMATCH[1]}"
        fi
    done < <("$program" ${command:+"$command"} --help 2>/dev/null)
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}

complete -o filenames -F _pybootd pybootd
