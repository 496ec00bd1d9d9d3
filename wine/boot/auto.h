/* auto.h: see auto.c. */
#ifndef WINBOX_AUTO_H
#define WINBOX_AUTO_H

#include "nt.h"

/* link_drives makes the names of the drives in the directory of devices, where programs look for which there are. It gives
 * back the letters, A being bit 0. The links last as long as the handles, or the session when the caller wants none. It is
 * wineboot.c's. */
ULONG link_drives(HANDLE links[26]);

/* watch takes the places of the service manager and of drivers, before anybody can ask for them; NULL when it cannot. */
HANDLE watch(void);

/* serve starts the services when one of these is asked for, and returns when the session ends. */
void serve(HANDLE pipe);

/* session_end is signalled when the last process has ended that is not one of the system, once this process is one. */
extern HANDLE session_end;

/* release gives back memory that this process does not need for a long wait. */
void release(void);

/* keep has the registry saved soon after each change, until the session ends. It is keep.c's. */
DWORD WINAPI keep(void *unused);

#endif
