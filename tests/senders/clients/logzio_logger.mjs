// Logs COUNT numbered lines through logzio-nodejs: PORT TOKEN_FILE COUNT COMPRESS. Prints the numbers.
import { readFileSync } from 'node:fs';
import logzio from 'logzio-nodejs';

const [port, tokenFile, count, compress] = process.argv.slice(2);
const failures = [];
const logger = logzio.createLogger({
  token: readFileSync(tokenFile, 'utf8').trim(),
  type: 'senders',
  protocol: 'http',
  host: '127.0.0.1',
  port,
  compress: compress === 'true',
  bufferSize: 100,
  sendIntervalMs: 500,
  callback: (error) => { if (error) failures.push(String(error)); },
});
const sent = [];
for (let n = 0; n < Number(count); n += 1) {
  logger.log({ message: `line ${n}`, n });
  sent.push(n);
}
logger.sendAndClose((error) => { if (error) failures.push(String(error)); });
process.on('exit', () => {
  if (failures.length > 0) {
    console.error(failures.join('\n'));
    process.exitCode = 1;
    return;
  }
  console.log(JSON.stringify(sent));
});
