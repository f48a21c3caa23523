# SPDX-License-Identifier: Apache-2.0
#
# The prompt says which guest it is. An exclamation mark is one.
PS1='\h# '
set +o histexpand
