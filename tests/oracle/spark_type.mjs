// Prints what Spark takes each file for. Decoding itself needs Web Workers, which Node has not.
import { readFileSync } from 'node:fs';
import { getSplatFileType } from '@sparkjsdev/spark';

const types = process.argv.slice(2).map((path) => getSplatFileType(new Uint8Array(readFileSync(path))));
console.log(JSON.stringify(types.map((type) => type ?? null)));
