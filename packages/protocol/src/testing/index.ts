export { documentNames, type Exchange, readDocument, readExchanges, readFixture } from './fixtures.ts';
