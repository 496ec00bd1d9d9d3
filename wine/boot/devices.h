/* devices.h: see devices.c. It needs the types of windows.h or of wdm.h, which exclude each other. */
#ifndef WINBOX_DEVICES_H
#define WINBOX_DEVICES_H

/* make_devices makes the devices and the links to them; function gives those of ntoskrnl.exe. */
BOOLEAN make_devices(void *(*function)(const char *name));

/* serve_devices answers their requests until the event is signalled. */
void serve_devices(HANDLE end);

/* remove_links makes room for the drivers' devices. */
void remove_links(void);

/* has_drive says whether there is a drive of this letter, in lower case. It is auto.c's. */
BOOLEAN has_drive(WCHAR letter);

/* services_run starts the service manager, if nobody has yet, and waits until the drivers are there; FALSE when that fails.
 * It is auto.c's. */
BOOLEAN services_run(void);

#endif
