// Posts a body COUNT times with a bad token: LIBRARY URL TOKEN BODY_FILE COUNT. Prints how often each outcome was seen.
import { readFileSync } from 'node:fs';
import http from 'node:http';

const [library, url, token, bodyFile, count] = process.argv.slice(2);
const body = readFileSync(bodyFile);
const headers = { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' };

const byHttp = () => new Promise((resolve, reject) => {
  const request = http.request(
    url,
    { method: 'POST', headers: { ...headers, 'Content-Length': body.length }, timeout: 20000 },
    (answer) => { answer.resume(); answer.on('end', () => resolve(answer.statusCode)); },
  );
  request.on('error', reject);
  request.end(body);
});

const byFetch = async () => {
  const answer = await fetch(url, { method: 'POST', headers, body, signal: AbortSignal.timeout(20000) });
  await answer.text();
  return answer.status;
};

const post = { http: byHttp, fetch: byFetch }[library];
const outcomes = {};
for (let n = 0; n < Number(count); n += 1) {
  let outcome;
  try {
    outcome = String(await post());
  } catch (error) {
    outcome = `${error}${error.cause ? ` (${error.cause.code})` : ''}`;
  }
  outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
}
console.log(JSON.stringify(outcomes));
