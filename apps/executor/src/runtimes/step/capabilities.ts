/**
 * What root in a step keeps. Package managers need to change owners and modes of any file (CHOWN, DAC_OVERRIDE, FOWNER, FSETID), to
 * drop to their download user (SETUID, SETGID), to unpack files with capabilities (SETFCAP: rpm fails without), to stop
 * services of other users (KILL); test servers listen on low ports (NET_BIND_SERVICE). Left out of Docker's default set:
 * NET_RAW (forged packets; `ping` works without), MKNOD, SYS_CHROOT, SETPCAP, AUDIT_WRITE.
 */
export const capabilities = [
  'CHOWN',
  'DAC_OVERRIDE',
  'FOWNER',
  'FSETID',
  'KILL',
  'NET_BIND_SERVICE',
  'SETFCAP',
  'SETGID',
  'SETUID',
] as const;
