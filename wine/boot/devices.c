/*
 * devices.c: what stands in for drivers under the boot profile `auto`.
 *
 * The mount manager and the network's tables are devices, which programs open by name, and a file that is not there is
 * what they find as long as no driver runs. So this process makes devices of other names, and links from the drivers' names
 * to them, as a driver would: with ntoskrnl.exe, which Wine's own processes for drivers load. The first request that comes
 * has services.exe started, which loads the drivers; before that the links go, since the drivers make devices of these
 * names. This request, and all others on files opened by way of the links, are passed on to the drivers' devices.
 *
 * Requests of these drivers have their data in buffers that are copied (METHOD_BUFFERED), nothing else.
 *
 * One request is answered here. What the volume of a file is, Wine asks the mount manager for at every GetFileInformationByHandle,
 * and for a drive that is a folder the answer is always the same.
 */
#include <ddk/wdm.h>

#include "devices.h"
#include "names.h"

/* Calls that wdm.h lacks; ntdll has them under these names. */
NTSTATUS NTAPI NtDeviceIoControlFile(HANDLE, HANDLE, PVOID, PVOID, PIO_STATUS_BLOCK, ULONG, PVOID, ULONG, PVOID, ULONG);
NTSTATUS NTAPI NtOpenFile(PHANDLE, ACCESS_MASK, POBJECT_ATTRIBUTES, PIO_STATUS_BLOCK, ULONG, ULONG);
NTSTATUS NTAPI NtCreateEvent(PHANDLE, ACCESS_MASK, POBJECT_ATTRIBUTES, ULONG, BOOLEAN);
NTSTATUS NTAPI NtCreateSymbolicLinkObject(PHANDLE, ACCESS_MASK, POBJECT_ATTRIBUTES, PUNICODE_STRING);
NTSTATUS NTAPI NtWaitForSingleObject(HANDLE, BOOLEAN, PLARGE_INTEGER);
NTSTATUS NTAPI NtCancelIoFileEx(HANDLE, PIO_STATUS_BLOCK, PIO_STATUS_BLOCK);
NTSTATUS NTAPI NtClose(HANDLE);
NTSTATUS NTAPI RtlCreateUserThread(HANDLE, PVOID, BOOLEAN, ULONG, SIZE_T, SIZE_T, PVOID, PVOID, PHANDLE, PVOID);

/* What is used of ntoskrnl.exe. It is loaded under this profile only, and so not imported. */
static struct {
	NTSTATUS(NTAPI *create_driver)(PUNICODE_STRING, PDRIVER_INITIALIZE);
	NTSTATUS(NTAPI *create_device)(PDRIVER_OBJECT, ULONG, PUNICODE_STRING, DEVICE_TYPE, ULONG, BOOLEAN, PDEVICE_OBJECT *);
	VOID(FASTCALL *complete)(PIRP, CCHAR);
	VOID(NTAPI *release_cancel)(KIRQL);
	NTSTATUS (*main_loop)(HANDLE);
} kernel;

/* A device that stands in for a driver's. */
struct stand_in {
	const WCHAR    *own;      /* its name */
	const WCHAR    *names[2]; /* the names of the driver's: the device, and the link to it that programs use */
	HANDLE          links[2];
	PDEVICE_OBJECT  device;
};

enum { MOUNT_MANAGER, NETWORK };

static struct stand_in stand_ins[] = {
	[MOUNT_MANAGER] = { .own = L"\\Device\\WinboxMountPointManager", .names = { L"\\Device\\MountPointManager", L"\\??\\MountPointManager" } },
	[NETWORK] = { .own = L"\\Device\\WinboxNsi", .names = { L"\\Device\\Nsi", L"\\??\\Nsi" } },
};

#define EACH(s) (struct stand_in *s = stand_ins; s < stand_ins + sizeof(stand_ins) / sizeof(stand_ins[0]); s++)

/* The handle of the driver's device, kept with a request as long as that is passed on. */
#define PASSED_TO(irp) ((irp)->Tail.Overlay.DriverContext[0])

/* cancel gives the wish to cancel a request on: the answer to the request follows. */
static VOID NTAPI cancel(PDEVICE_OBJECT device, PIRP irp)
{
	IO_STATUS_BLOCK io;

	(void)device;
	kernel.release_cancel(irp->CancelIrql);
	NtCancelIoFileEx(PASSED_TO(irp), NULL, &io);
}

/* IOCTL_MOUNTMGR_QUERY_UNIX_DRIVE of Wine: function 33 of the mount manager. */
#define QUERY_DRIVE CTL_CODE('m', 33, METHOD_BUFFERED, FILE_READ_ACCESS)

/* What it takes and gives (struct mountmgr_unix_drive of Wine), with an empty label behind it. */
struct drive {
	ULONG   size;
	ULONG   type;
	ULONG   file_system;
	ULONG   serial;
	ULONG64 unix_device;
	WCHAR   letter;
	USHORT  mount_point, device, label; /* offsets; 0 for none */
	WCHAR   no_label;
};

/* describe_drive answers QUERY_DRIVE as Wine's mount manager does for a folder: a fixed disk, whose serial number is its
 * letter. */
static NTSTATUS describe_drive(void *data, ULONG in, ULONG out, ULONG_PTR *size)
{
	enum { FIXED = 3, WHOLE = FIELD_OFFSET(struct drive, no_label) + sizeof(WCHAR), HEAD = FIELD_OFFSET(struct drive, no_label) };
	struct drive *d = data;

	*size = 0;
	if (in < HEAD || out < HEAD)
		return STATUS_INVALID_PARAMETER;
	WCHAR letter = d->letter | 0x20;
	if (letter < 'a' || letter > 'z' || !has_drive(letter))
		return STATUS_NO_SUCH_DEVICE;
	*d = (struct drive){ .size = WHOLE, .type = FIXED, .serial = (ULONG)(letter & ~0x20) << 24, .letter = letter };
	if (out < WHOLE) {
		*size = HEAD;
		return STATUS_BUFFER_OVERFLOW;
	}
	d->label = HEAD;
	*size = WHOLE;
	return STATUS_SUCCESS;
}

/* ask opens the driver's device and passes a request on. */
static NTSTATUS ask(const struct stand_in *s, PIRP irp, ULONG_PTR *size)
{
	PIO_STACK_LOCATION where = irp->Tail.Overlay.CurrentStackLocation;
	void              *data = irp->AssociatedIrp.SystemBuffer;
	UNICODE_STRING     name = name_of(s->names[0]);
	OBJECT_ATTRIBUTES  attr;
	IO_STATUS_BLOCK    io = { .Information = 0 };
	HANDLE             file, event;
	NTSTATUS           status;

	InitializeObjectAttributes(&attr, &name, OBJ_CASE_INSENSITIVE, NULL, NULL);
	if ((status = NtCreateEvent(&event, EVENT_ALL_ACCESS, NULL, NotificationEvent, FALSE)))
		return status;
	if (!(status = NtOpenFile(&file, GENERIC_READ | GENERIC_WRITE, &attr, &io, FILE_SHARE_READ | FILE_SHARE_WRITE, 0))) {
		PASSED_TO(irp) = file;
		InterlockedExchangePointer((PVOID *)&irp->CancelRoutine, cancel);
		status = NtDeviceIoControlFile(file, event, NULL, NULL, &io, where->Parameters.DeviceIoControl.IoControlCode,
		                               data, where->Parameters.DeviceIoControl.InputBufferLength,
		                               data, where->Parameters.DeviceIoControl.OutputBufferLength);
		if (status == STATUS_PENDING) {
			NtWaitForSingleObject(event, FALSE, NULL);
			status = io.Status;
		}
		InterlockedExchangePointer((PVOID *)&irp->CancelRoutine, NULL);
		NtClose(file);
	}
	NtClose(event);
	*size = NT_ERROR(status) ? 0 : io.Information;
	return status;
}

/* forward answers one request, as a thread of its own: starting the services takes its time, and so may the driver. */
static NTSTATUS NTAPI forward(PVOID request)
{
	PIRP           irp = request;
	PDEVICE_OBJECT device = irp->Tail.Overlay.CurrentStackLocation->DeviceObject;

	irp->IoStatus.Status = STATUS_DEVICE_DOES_NOT_EXIST;
	irp->IoStatus.Information = 0;
	if (services_run())
		for EACH (s)
			if (s->device == device)
				irp->IoStatus.Status = ask(s, irp, &irp->IoStatus.Information);
	kernel.complete(irp, IO_NO_INCREMENT);
	return 0;
}

static NTSTATUS NTAPI control(PDEVICE_OBJECT device, PIRP irp)
{
	PIO_STACK_LOCATION where = irp->Tail.Overlay.CurrentStackLocation;
	HANDLE             thread;

	if (device == stand_ins[MOUNT_MANAGER].device && where->Parameters.DeviceIoControl.IoControlCode == QUERY_DRIVE) {
		NTSTATUS status = describe_drive(irp->AssociatedIrp.SystemBuffer, where->Parameters.DeviceIoControl.InputBufferLength,
		                                 where->Parameters.DeviceIoControl.OutputBufferLength, &irp->IoStatus.Information);
		irp->IoStatus.Status = status;
		kernel.complete(irp, IO_NO_INCREMENT);
		return status;
	}
	IoMarkIrpPending(irp);
	if (RtlCreateUserThread((HANDLE)-1, NULL, FALSE, 0, 0, 0, forward, irp, &thread, NULL))
		forward(irp);
	else
		NtClose(thread);
	return STATUS_PENDING;
}

static NTSTATUS NTAPI succeed(PDEVICE_OBJECT device, PIRP irp)
{
	(void)device;
	irp->IoStatus.Status = STATUS_SUCCESS;
	irp->IoStatus.Information = 0;
	kernel.complete(irp, IO_NO_INCREMENT);
	return STATUS_SUCCESS;
}

static NTSTATUS NTAPI enter(PDRIVER_OBJECT driver, PUNICODE_STRING path)
{
	(void)path;
	driver->MajorFunction[IRP_MJ_CREATE] = driver->MajorFunction[IRP_MJ_CLOSE] = driver->MajorFunction[IRP_MJ_CLEANUP] = succeed;
	driver->MajorFunction[IRP_MJ_DEVICE_CONTROL] = control;
	for EACH (s) {
		UNICODE_STRING own = name_of(s->own);
		NTSTATUS       status = kernel.create_device(driver, 0, &own, FILE_DEVICE_UNKNOWN, 0, FALSE, &s->device);

		if (status)
			return status;
		for (int i = 0; i < 2; i++) {
			UNICODE_STRING    name = name_of(s->names[i]);
			OBJECT_ATTRIBUTES attr;

			InitializeObjectAttributes(&attr, &name, OBJ_CASE_INSENSITIVE, NULL, NULL);
			NtCreateSymbolicLinkObject(&s->links[i], SYMBOLIC_LINK_ALL_ACCESS, &attr, &own);
		}
	}
	return STATUS_SUCCESS;
}

BOOLEAN make_devices(void *(*function)(const char *))
{
	UNICODE_STRING name = name_of(L"\\Driver\\winbox");

	kernel.create_driver = function("IoCreateDriver");
	kernel.create_device = function("IoCreateDevice");
	kernel.complete = function("IofCompleteRequest");
	kernel.release_cancel = function("IoReleaseCancelSpinLock");
	kernel.main_loop = function("wine_ntoskrnl_main_loop");
	return kernel.create_driver && kernel.create_device && kernel.complete && kernel.release_cancel && kernel.main_loop &&
	       !kernel.create_driver(&name, enter);
}

void remove_links(void)
{
	for EACH (s)
		for (int i = 0; i < 2; i++)
			if (s->links[i]) {
				NtClose(s->links[i]);
				s->links[i] = NULL;
			}
}

void serve_devices(HANDLE end)
{
	kernel.main_loop(end);
}
