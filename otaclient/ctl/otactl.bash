# bash completion for otactl: commands, their options, and the ids of ECUs that the asked one speaks for.

_otactl()
{
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    local command='' anywhere='--ecu --json --help -h' options i
    local -a asked=()

    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        --ecu) # bash takes "HOST:PORT" apart
            asked=(--ecu "${COMP_WORDS[i + 1]}")
            [[ ${COMP_WORDS[i + 2]} != : ]] || asked[1]+=":${COMP_WORDS[i + 3]}"
            ;;
        status | update | abort | rollback | history | doctor)
            [[ -n $command || ${COMP_WORDS[i - 1]} == --* && ${COMP_WORDS[i - 1]} != --json ]] ||
                command=${COMP_WORDS[i]}
            ;;
        esac
    done
    case $previous in
    --ecu-id)
        local ids
        ids=$(timeout 2 "${COMP_WORDS[0]}" "${asked[@]}" --json status 2>/dev/null |
            sed -n 's/^{"available_ecu_ids": \[\([^]]*\)\].*/\1/p' | tr -d '",')
        mapfile -t COMPREPLY < <(compgen -W "$ids" -- "$current")
        return
        ;;
    --ecu)
        mapfile -t COMPREPLY < <(compgen -A hostname -- "$current")
        return
        ;;
    --file)
        mapfile -t COMPREPLY < <(compgen -A file -- "$current")
        return
        ;;
    --url | --cookies | --timeout | --max-download)
        return
        ;;
    --version)
        [[ -z $command ]] || return
        ;;
    esac
    case $command in
    '') options="status update abort rollback history doctor --version" ;;
    status) options='--watch' ;;
    update) options='--url --version --ecu-id --all --cookies --wait --timeout --dry-run --max-download' ;;
    rollback) options='--ecu-id --wait --timeout' ;;
    history) options='--file' ;;
    *) options='' ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$options $anywhere" -- "$current")
}
complete -F _otactl otactl
