export { type ImageReference, parseImageReference } from './image-reference.ts';
export { loginFor, type RegistryLogin } from './registry-login.ts';
export { parseStepImage } from './step-image.ts';
