_intune_dw_completion() {
    local IFS=$'
'
    COMPREPLY=( $( env COMP_WORDS="${COMP_WORDS[*]}" \
                   COMP_CWORD=$COMP_CWORD \
                   _INTUNE_DW_COMPLETE=complete_bash $1 ) )
    return 0
}

complete -o default -F _intune_dw_completion intune-dw
