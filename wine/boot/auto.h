/* auto.h: see auto.c. */
#ifndef WINBOX_AUTO_H
#define WINBOX_AUTO_H

#include "nt.h"

/* watch takes the service manager's place before anybody can ask for it; NULL when that is taken. */
HANDLE watch(void);

/* serve waits for the first client, and returns when this process is not needed any more. */
void serve(HANDLE pipe);

#endif
