/** What no step needs and much of what a hole in the guest's kernel would need. Refused with EPERM. */
const refused = [
  // Kernel: modules, images, programs in it, its log, its clock, its switches.
  ...[
    'init_module',
    'finit_module',
    'delete_module',
    'kexec_load',
    'kexec_file_load',
    'bpf',
    'perf_event_open',
  ],
  ...[
    'syslog',
    'reboot',
    'acct',
    'swapon',
    'swapoff',
    'quotactl',
    'quotactl_fd',
    '_sysctl',
    'lookup_dcookie',
  ],
  ...['settimeofday', 'clock_settime', 'clock_settime64', 'clock_adjtime', 'clock_adjtime64', 'adjtimex'],
  ...['iopl', 'ioperm', 'vm86', 'vm86old', 'modify_ldt'],
  // Mounts and namespaces.
  ...['mount', 'umount', 'umount2', 'pivot_root', 'move_mount', 'open_tree', 'mount_setattr'],
  ...['fsopen', 'fsconfig', 'fsmount', 'fspick', 'setns', 'unshare', 'open_by_handle_at'],
  // Keys are not kept apart by namespaces; the others have a history of holes.
  ...['add_key', 'keyctl', 'request_key', 'userfaultfd', 'fanotify_init', 'kcmp'],
  ...['io_uring_setup', 'io_uring_enter', 'io_uring_register'],
];

const newUserNamespace = 0x1000_0000;
const noSuchCall = 38;

/** The filter of system calls of every step, in the form of the OCI runtime specification. */
export const seccompProfile = {
  defaultAction: 'SCMP_ACT_ALLOW',
  architectures: ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86', 'SCMP_ARCH_X32'],
  syscalls: [
    { names: refused, action: 'SCMP_ACT_ERRNO', errnoRet: 1 },
    {
      names: ['clone'],
      action: 'SCMP_ACT_ERRNO',
      errnoRet: 1,
      args: [{ index: 0, value: newUserNamespace, valueTwo: newUserNamespace, op: 'SCMP_CMP_MASKED_EQ' }],
    },
    // Its flags are in memory, where a filter cannot look; C libraries fall back to clone.
    { names: ['clone3'], action: 'SCMP_ACT_ERRNO', errnoRet: noSuchCall },
  ],
};
