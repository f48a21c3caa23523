/* SPDX-License-Identifier: Apache-2.0 */
/* What the files that move files share: cp and image upload. */
#ifndef CORBEL_TOOLS_COPY_H
#define CORBEL_TOOLS_COPY_H

#define COPY_CHUNK 4096u /* of an upload: half a second on a line of 115200 baud */

#endif
