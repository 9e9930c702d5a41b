import { getCACertificates, setDefaultCACertificates } from 'node:tls';

/**
 * Trusts the certificate authorities of the system beside Node's own, for the whole process: an instance with a
 * certificate of a private authority is reached as soon as the machine knows that authority (`SSL_CERT_FILE` and
 * `SSL_CERT_DIR` count too).
 */
export function trustSystemCertificates(): void {
  setDefaultCACertificates([...new Set([...getCACertificates('default'), ...getCACertificates('system')])]);
}
