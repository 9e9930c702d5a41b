export { makeEmptyDrive, makeWorkspaceDrive, shareFile } from './drives.ts';
