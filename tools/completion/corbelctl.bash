# SPDX-License-Identifier: Apache-2.0
#
# Completion of corbelctl for bash: source it, or put it into the folder of
# bash-completion under the name corbelctl. The program itself knows the words, and
# asks the machine of -t or CORBEL_TARGET for names of VMs, files and settings.

_corbelctl()
{
	local line=${COMP_LINE:0:COMP_POINT} i=1
	local -a words options=()

	# bash would break words at colons; names in the store begin with one
	read -ra words <<<"$line"
	[[ $line == *[[:space:]] ]] && words+=("")
	while ((i < ${#words[@]} - 1)); do
		case ${words[i]} in
		-t | --target | --timeout | --key)
			options+=("${words[i]}" "${words[i + 1]}")
			((i += 2))
			;;
		-*) ((i += 1)) ;;
		*) break ;;
		esac
	done
	COMPREPLY=()
	if [[ ${words[i]} == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W '-t --target --json --timeout --key --help' -- "${words[i]}")
		return
	fi
	mapfile -t COMPREPLY < <("${words[0]}" "${options[@]}" --complete "${words[@]:i}" 2>/dev/null)
	# a path that ends in a dot goes on
	if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *. ]]; then
		compopt -o nospace 2>/dev/null
	fi
	if [[ ${words[-1]} == :* && $COMP_WORDBREAKS == *:* ]]; then
		COMPREPLY=("${COMPREPLY[@]#:}")
	fi
}

complete -o default -F _corbelctl corbelctl
