//go:build ignore

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way into the functions of Wine's ntdll.so that allocate memory, and out of them. It is for any calling convention,
 * since that of x86-64 is Windows' in Wine 8 and the System V one in Wine 10: the arguments are left where they are, and
 * the return address is replaced, by begin_call in commit.c, which knows the right one when the function is done.
 */
	.text

#if defined(__x86_64__)

	.macro enter name, kind
	.globl	\name
	.hidden	\name
	.type	\name, @function
\name:
	pushq	%rax
	pushq	%rcx
	pushq	%rdx
	pushq	%rsi
	pushq	%rdi
	pushq	%r8
	pushq	%r9
	pushq	%r10
	subq	$8, %rsp		/* calls want the stack on a multiple of 16 */
	movl	$\kind, %edi
	leaq	72(%rsp), %rsi		/* where the return address is; the registers are below, see argument */
	call	begin_call
	movq	%rax, %r11
	addq	$8, %rsp
	popq	%r10
	popq	%r9
	popq	%r8
	popq	%rdi
	popq	%rsi
	popq	%rdx
	popq	%rcx
	popq	%rax
	jmp	*%r11
	.endm

	.globl	after_call
	.hidden	after_call
	.type	after_call, @function
after_call:
	subq	$8, %rsp		/* for the return address */
	pushq	%rcx
	pushq	%rdx
	pushq	%rsi
	pushq	%rdi
	pushq	%r8
	pushq	%r9
	pushq	%r10
	movl	%eax, %edi
	leaq	56(%rsp), %rsi
	call	end_call
	popq	%r10
	popq	%r9
	popq	%r8
	popq	%rdi
	popq	%rsi
	popq	%rdx
	popq	%rcx
	popq	%r11			/* with ret, the processor would take each return further up for another one */
	jmp	*%r11

#else

	.macro enter name, kind
	.globl	\name
	.hidden	\name
	.type	\name, @function
\name:
	movl	%esp, %eax
	pushl	$0
	pushl	%eax			/* where the return address is */
	pushl	$\kind
	call	begin_call
	addl	$12, %esp
	jmp	*%eax
	.endm

	.globl	after_call
	.hidden	after_call
	.type	after_call, @function
after_call:
	pushl	$0			/* for the return address */
	movl	%esp, %ecx
	pushl	%edx
	pushl	%ecx
	pushl	%eax
	call	end_call
	addl	$8, %esp
	popl	%edx
	popl	%ecx
	jmp	*%ecx

#endif

	enter	enter_allocate, 0
	enter	enter_allocate_ex, 1
	enter	enter_map, 2
	enter	enter_map_ex, 3
	enter	enter_create_thread, 4

	enter	enter_create_section, 5

	/* stdcall, which i386 has, leaves it to the function to take the arguments off the stack. */
	.macro refuse arguments
	.globl	refuse_\arguments
	.hidden	refuse_\arguments
	.type	refuse_\arguments, @function
refuse_\arguments:
	movl	$0xc000012d, %eax	/* STATUS_COMMITMENT_LIMIT */
#if defined(__x86_64__)
	ret
#else
	ret	$4 * \arguments
#endif
	.endm

	refuse	6
	refuse	7

	.section .note.GNU-stack, "", @progbits
