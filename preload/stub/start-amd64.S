//go:build ignore

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two places where the preloader is entered on x86-64 (System V ABI,
 * AMD64 supplement, "Process Initialization"): the stack pointer leads to
 * argc, argv, the environment and the auxiliary vector, rdx holds a function
 * to register with atexit(3) or zero.
 */
	.text

/* From the kernel. Goes on to the dynamic linker, which must find what it would find without us. */
	.globl	_start
	.type	_start, @function
_start:
	xorl	%ebp, %ebp
	movq	%rsp, %rdi
	call	preload
	movq	initial_stack(%rip), %rsp
	xorl	%ebx, %ebx
	xorl	%ecx, %ecx
	xorl	%edx, %edx
	xorl	%esi, %esi
	xorl	%edi, %edi
	xorl	%r8d, %r8d
	xorl	%r9d, %r9d
	xorl	%r10d, %r10d
	xorl	%r11d, %r11d
	jmp	*%rax

/*
 * From the dynamic linker, through AT_ENTRY. endbr64 because ld.so may have
 * switched on branch tracking; call and ret are paired, for the shadow stack.
 */
	.globl	second_stage
	.type	second_stage, @function
second_stage:
	endbr64
	pushq	%rdx
	subq	$8, %rsp		/* calls want the stack on a multiple of 16 */
	call	fill_above_limit
	addq	$8, %rsp
	popq	%rdx
	xorl	%ebp, %ebp
	jmp	*%rax

	.section .note.GNU-stack, "", @progbits
