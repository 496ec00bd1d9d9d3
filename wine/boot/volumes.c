/*
 * volumes.exe: the devices of the drives, for programs that ask for a volume's label, serial number or flags.
 *
 * Windows programs get those from the device behind a drive letter, and in Wine the mount manager makes the devices, a driver
 * that needs the service manager. This is a driver as well, in a process of its own: it uses Wine's ntoskrnl.exe, as the
 * process does in which Wine's services load theirs. wineboot.exe starts it under the minimal boot when the container says so
 * by the variable WINBOX_VOLUMES, which has what is to be answered: an entry for each drive, separated by '|', of the letter,
 * 1 for a read-only one or 0, the serial number in 8 hexadecimal digits, and the label.
 */
#include <ntifs.h>

#include "names.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* Wine's, and what the driver kit's headers leave out. */
NTSTATUS __cdecl wine_ntoskrnl_main_loop(HANDLE);
NTSTATUS NTAPI IoCreateDriver(UNICODE_STRING *, PDRIVER_INITIALIZE);
NTSTATUS NTAPI NtSetInformationProcess(HANDLE, ULONG, PVOID, ULONG);
NTSTATUS NTAPI NtTerminateProcess(HANDLE, NTSTATUS);
NTSTATUS NTAPI NtCreateEvent(PHANDLE, ACCESS_MASK, POBJECT_ATTRIBUTES, ULONG, BOOLEAN);
NTSTATUS NTAPI NtSetEvent(HANDLE, PLONG);
#define PROCESS_MAKE_SYSTEM 1000 /* ProcessWineMakeProcessSystem */

/* volume is one drive. */
struct volume {
	WCHAR letter;
	BOOL  read_only;
	ULONG serial;
	WCHAR label[33];
};

static WCHAR answers[26 * 44 + 1];

/* put copies an answer's fixed part and its text, as much of that as there is room for. */
static NTSTATUS put(IRP *irp, ULONG room, const void *fixed, ULONG size, const WCHAR *s)
{
	ULONG n = (ULONG)(length(s) * sizeof(WCHAR));

	if (room < size)
		return STATUS_INFO_LENGTH_MISMATCH;
	if (n > room - size)
		n = room - size;
	memcpy(irp->AssociatedIrp.SystemBuffer, fixed, size);
	memcpy((char *)irp->AssociatedIrp.SystemBuffer + size, s, n);
	irp->IoStatus.Information = size + n;
	return STATUS_SUCCESS;
}

/* pass_on asks the folder that the drive leads to: its file system knows sizes. */
static NTSTATUS pass_on(const struct volume *v, IRP *irp, ULONG room, ULONG class)
{
	WCHAR             path[] = L"\\??\\X:\\";
	UNICODE_STRING    name = name_of(path);
	OBJECT_ATTRIBUTES attr = attributes(NULL, &name);
	IO_STATUS_BLOCK   io = { { 0 }, 0 };
	HANDLE            folder;
	NTSTATUS          status;

	path[4] = v->letter;
	status = NtOpenFile(&folder, SYNCHRONIZE, &attr, &io, FILE_SHARE_READ | FILE_SHARE_WRITE, FILE_DIRECTORY_FILE | FILE_SYNCHRONOUS_IO_NONALERT);
	if (status)
		return status;
	status = NtQueryVolumeInformationFile(folder, &io, irp->AssociatedIrp.SystemBuffer, room, class);
	irp->IoStatus.Information = io.Information;
	NtClose(folder);
	return status;
}

static NTSTATUS NTAPI query_volume(DEVICE_OBJECT *device, IRP *irp)
{
	const struct volume *v = device->DeviceExtension;
	IO_STACK_LOCATION   *stack = IoGetCurrentIrpStackLocation(irp);
	ULONG                room = stack->Parameters.QueryVolume.Length, class = stack->Parameters.QueryVolume.FsInformationClass;
	NTSTATUS             status;

	irp->IoStatus.Information = 0;
	switch (class) {
	case FileFsVolumeInformation: {
		/* FILE_FS_VOLUME_INFORMATION, up to the label */
		ULONG fixed[5] = { 0, 0, v->serial, (ULONG)(length(v->label) * sizeof(WCHAR)), 0 };
		fixed[4] = TRUE; /* SupportsObjects: one byte, one of padding, and the label follows */
		status = put(irp, room, fixed, FIELD_OFFSET(FILE_FS_VOLUME_INFORMATION, VolumeLabel), v->label);
		break;
	}
	case FileFsAttributeInformation: {
		/* FILE_FS_ATTRIBUTE_INFORMATION, up to the name of the file system. What Wine says of every folder, and what it
		 * does not know. */
		ULONG fixed[3] = { FILE_CASE_PRESERVED_NAMES | FILE_PERSISTENT_ACLS, 255, 4 * sizeof(WCHAR) };
		if (v->read_only)
			fixed[0] |= FILE_READ_ONLY_VOLUME;
		status = put(irp, room, fixed, FIELD_OFFSET(FILE_FS_ATTRIBUTE_INFORMATION, FileSystemName), L"NTFS");
		break;
	}
	case FileFsSizeInformation:
	case FileFsDeviceInformation:
	case FileFsFullSizeInformation:
		status = pass_on(v, irp, room, class);
		break;
	default:
		status = STATUS_NOT_IMPLEMENTED;
	}
	irp->IoStatus.Status = status;
	IoCompleteRequest(irp, IO_NO_INCREMENT);
	return status;
}

static NTSTATUS NTAPI succeed(DEVICE_OBJECT *device, IRP *irp)
{
	(void)device;
	irp->IoStatus.Status = STATUS_SUCCESS;
	irp->IoStatus.Information = 0;
	IoCompleteRequest(irp, IO_NO_INCREMENT);
	return STATUS_SUCCESS;
}

/* next reads one entry of the variable; NULL at its end or when it is malformed. */
static const WCHAR *next(const WCHAR *s, struct volume *v)
{
	unsigned n;

	if (s[0] < 'A' || s[0] > 'Z' || (s[1] != '0' && s[1] != '1'))
		return NULL;
	v->letter = s[0];
	v->read_only = s[1] == '1';
	v->serial = 0;
	s += 2;
	for (n = 0; n < 8; n++, s++) {
		if (*s >= '0' && *s <= '9')
			v->serial = v->serial << 4 | (ULONG)(*s - '0');
		else if (*s >= 'a' && *s <= 'f')
			v->serial = v->serial << 4 | (ULONG)(*s - 'a' + 10);
		else
			return NULL;
	}
	for (n = 0; *s && *s != '|'; s++)
		if (n < COUNT(v->label) - 1)
			v->label[n++] = *s;
	v->label[n] = 0;
	return *s ? s + 1 : s;
}

static NTSTATUS NTAPI make_devices(DRIVER_OBJECT *driver, UNICODE_STRING *key)
{
	struct volume v;
	unsigned      number = 0;

	(void)key;
	driver->MajorFunction[IRP_MJ_CREATE] = driver->MajorFunction[IRP_MJ_CLOSE] = driver->MajorFunction[IRP_MJ_CLEANUP] = succeed;
	driver->MajorFunction[IRP_MJ_QUERY_VOLUME_INFORMATION] = query_volume;
	environment(L"WINBOX_VOLUMES", answers, COUNT(answers));
	for (const WCHAR *s = answers; s && *s;) {
		DEVICE_OBJECT *device;
		if (!(s = next(s, &v)))
			break;
		/* wineboot.c numbers the drives in the order of their letters, which is that of the entries. */
		WCHAR          path[] = L"\\Device\\HarddiskVolume00";
		UNICODE_STRING name;
		if (++number < 10) {
			path[COUNT(path) - 3] = (WCHAR)('0' + number);
			path[COUNT(path) - 2] = 0;
		} else {
			path[COUNT(path) - 3] = (WCHAR)('0' + number / 10);
			path[COUNT(path) - 2] = (WCHAR)('0' + number % 10);
		}
		name = name_of(path);
		if (!IoCreateDevice(driver, sizeof(v), &name, FILE_DEVICE_DISK, 0, FALSE, &device))
			memcpy(device->DeviceExtension, &v, sizeof(v));
	}
	return STATUS_SUCCESS;
}

void start(void)
{
	UNICODE_STRING    name = name_of(L"\\KernelObjects\\winbox_volumes"), driver = name_of(L"\\Driver\\WinboxVolumes");
	OBJECT_ATTRIBUTES attr = attributes(NULL, &name);
	HANDLE            ready, end = NULL;

	/* The session does not wait for processes of the system: it signals this event when the last other one has ended. */
	if (!NtSetInformationProcess(NtCurrentProcess(), PROCESS_MAKE_SYSTEM, &end, sizeof(HANDLE *)) && !IoCreateDriver(&driver, make_devices)) {
		if (NtCreateEvent(&ready, EVENT_ALL_ACCESS, &attr, 0 /* NotificationEvent */, FALSE) >= 0)
			NtSetEvent(ready, NULL);
		wine_ntoskrnl_main_loop(end);
	}
	NtTerminateProcess(NtCurrentProcess(), 0);
}
