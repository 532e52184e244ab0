// Prints the Khronos validator's report on one glTF file as JSON.
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import validator from 'gltf-validator';

const path = process.argv[2];
const report = await validator.validateBytes(new Uint8Array(readFileSync(path)), {
    uri: path,
    maxIssues: 1000,
    externalResourceFunction: (uri) =>
        Promise.resolve(new Uint8Array(readFileSync(join(dirname(path), decodeURIComponent(uri)))))
});
console.log(JSON.stringify(report));
