"""The completion scripts for bash and zsh; fish's is click's own.

Both hand over the line up to the cursor, and leave out the blank after `train.epochs=`.
"""

from __future__ import annotations

import os
from typing import Any

from click.shell_completion import CompletionItem, ShellComplete, split_arg_string

BASH = """\
# Completion of %(prog_name)s for bash 4.4 and newer.
%(complete_func)s() {
    local kind value
    COMPREPLY=()
    while IFS=$'\\t' read -r kind value; do
        case $kind in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            *) COMPREPLY+=("$value") ;;
        esac
    done < <(%(complete_var)s=bash_complete COMP_LINE="${COMP_LINE:0:COMP_POINT}" "${1/#\\~/$HOME}" 2>/dev/null)
    if [[ ${COMPREPLY[0]} == *= ]]; then
        compopt -o nospace
    fi
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""

ZSH = """\
#compdef %(prog_name)s
# Completion of %(prog_name)s for zsh.
%(complete_func)s() {
    local kind value words_about
    local -a values shown
    while IFS=$'\\t' read -r kind value words_about; do
        case $kind in
            dir) _files -/ ;;
            file) _files ;;
            *) values+=("$value"); shown+=("$value${words_about:+  ($words_about)}") ;;
        esac
    done < <(%(complete_var)s=zsh_complete COMP_LINE="${(j: :)words[1,CURRENT]}" ${~words[1]} 2>/dev/null)
    (( $#values )) || return
    [[ $words[CURRENT] == --*=* ]] && compset -P '--[^=]#='
    if [[ $values[1] == *= ]]; then
        compadd -V options -Q -S '' -l -d shown -a values
    else
        compadd -V values -Q -l -d shown -a values
    fi
}
if [[ $funcstack[1] == _%(prog_name)s ]]; then
    %(complete_func)s "$@"
else
    compdef %(complete_func)s %(prog_name)s
fi
"""

PLACES = {
    "bash": "To have it in every shell, once: mkdir -p ~/.local/share/bash-completion/completions && "
    "tuiftune completion bash > ~/.local/share/bash-completion/completions/tuiftune\n"
    'In this shell alone: eval "$(tuiftune completion bash)"',
    "zsh": "To have it in every shell, once: mkdir -p ~/.zfunc && tuiftune completion zsh > ~/.zfunc/_tuiftune; "
    "and in ~/.zshrc, before compinit: fpath+=~/.zfunc\n"
    "In this shell alone, after compinit: source <(tuiftune completion zsh)",
    "fish": "To have it in every shell, once: tuiftune completion fish > ~/.config/fish/completions/tuiftune.fish\n"
    "In this shell alone: tuiftune completion fish | source",
}
"""Where each script goes."""


class _Line(ShellComplete):
    """A shell that hands over the line up to the cursor."""

    _cut = 0
    """So many characters of every value stand before what the shell takes for the word."""

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ.get("COMP_LINE", "")
        words = split_arg_string(line)
        incomplete = words.pop() if words and not line[-1:].isspace() else ""
        if len(words) == 0:  # the cursor is on the name of the program
            return [], ""
        self._measure(incomplete)
        return words[1:], incomplete

    def _measure(self, incomplete: str) -> None: ...


class Bash(_Line):
    name = "bash"
    source_template = BASH

    def _measure(self, incomplete: str) -> None:
        """For readline a word begins after the last = or :."""
        value = incomplete.partition("=")[2] if incomplete.startswith("--") else incomplete
        self._cut = 1 + max(value.rfind("="), value.rfind(":"))

    def format_completion(self, item: CompletionItem[Any]) -> str:
        return f"{item.type}\t{item.value[self._cut :]}"


class Zsh(_Line):
    name = "zsh"
    source_template = ZSH

    def format_completion(self, item: CompletionItem[Any]) -> str:
        return f"{item.type}\t{item.value}\t{item.help or ''}".rstrip("\t")
