export { emptyDocument } from './empty-document.ts';
export { documentNames, type Exchange, readDocument, readExchanges, readFixture } from './fixtures.ts';
