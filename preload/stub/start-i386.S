//go:build ignore

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two places where the preloader is entered on i386 (System V ABI, i386
 * supplement, "Process Initialization"): the stack pointer leads to argc, argv,
 * the environment and the auxiliary vector, edx holds a function to register
 * with atexit(3) or zero. No segment register or descriptor is touched: the
 * dynamic linker sets up thread-local storage as if it came first.
 */
	.text

/* From the kernel. Goes on to the dynamic linker, which must find what it would find without us. */
	.globl	_start
	.type	_start, @function
_start:
	xorl	%ebp, %ebp
	movl	%esp, %eax
	subl	$12, %esp		/* calls want the stack on a multiple of 16 */
	pushl	%eax
	call	preload
	movl	initial_stack, %esp
	xorl	%ebx, %ebx
	xorl	%ecx, %ecx
	xorl	%edx, %edx
	xorl	%esi, %esi
	xorl	%edi, %edi
	jmp	*%eax

/* From the dynamic linker, through AT_ENTRY; endbr32 because it may have switched on branch tracking. */
	.globl	second_stage
	.type	second_stage, @function
second_stage:
	endbr32
	pushl	%edx
	subl	$12, %esp
	call	fill_above_limit
	addl	$12, %esp
	popl	%edx
	xorl	%ebp, %ebp
	jmp	*%eax

	.section .note.GNU-stack, "", @progbits
