import { execFile } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { freePort } from '@comfy-balancer/local/port'
import { type Process, startProcess } from '@comfy-balancer/local/processes'
import { findOnPath } from '@comfy-balancer/local/redis-install'
import { Agent } from 'undici'
import { type EndedPrompt, fetchPicture, postJson } from '../direct-caller.ts'
import { atOnce, type Way } from './way.ts'

/** What runs in front of the same ComfyUIs as we do; nothing, when the program is not on PATH, which `version` then says. */
export type Proxy = {
  readonly version: string
  readonly ways: readonly Way[]
  readonly close: () => Promise<void>
}

const absent = (program: string): Proxy => ({
  version: `${program} is not on PATH and left out`,
  ways: [],
  close: async () => undefined
})

const hostOf = (url: string): string => new URL(url).host

const closeAll = async (ways: readonly Way[], programs: readonly Process[]): Promise<void> => {
  for (const way of ways) await way.close()
  await Promise.all(programs.map(program => program.stop(2_000)))
}

const haproxyConfig = (atOnce: { port: number; urls: string[] }, held: { port: number; urls: string[] }): string => `
defaults
  mode http
  timeout connect 5s
  timeout client 120s
  timeout server 120s
  timeout queue 120s
listen at-once
  bind 127.0.0.1:${atOnce.port}
  balance leastconn
${atOnce.urls.map((url, i) => `  server node${i} ${hostOf(url)}`).join('\n')}
listen one-each
  bind 127.0.0.1:${held.port}
  balance leastconn
${held.urls.map((url, i) => `  server node${i} ${hostOf(url)} maxconn 1`).join('\n')}
`

/** HAProxy with least connections on ComfyUI's own, asynchronous API, and with one connection each on a synchronous one. */
export const startHaproxy = async (comfyUiUrls: readonly string[], folder: string): Promise<Proxy> => {
  const command = findOnPath('haproxy')
  if (!command) return absent('HAProxy')
  const shims = await Promise.all(comfyUiUrls.map((url, i) => startShim(url, `held-${i}`, folder)))
  const [atOncePort, heldPort] = [await freePort(), await freePort()]
  const [config, urls] = [join(folder, 'haproxy.cfg'), [...comfyUiUrls]]
  const held = { port: heldPort, urls: shims.map(shim => shim.ready) }
  writeFileSync(config, haproxyConfig({ port: atOncePort, urls }, held))
  const haproxy = await startProcess({
    ...{ name: 'haproxy', command, args: ['-W', '-db', '-f', config], logFile: join(folder, 'logs', 'haproxy.log') },
    readyWhen: line => (line.includes('Loading success') ? true : undefined)
  })
  const ways = [
    await atOnce('HAProxy, leastconn', `http://127.0.0.1:${atOncePort}`, comfyUiUrls),
    oneEach('HAProxy, one connection each', `http://127.0.0.1:${heldPort}`)
  ]
  const version = await versionOf(command)
  return { version: `HAProxy ${version}`, ways, close: () => closeAll(ways, [haproxy, ...shims]) }
}

const startShim = (comfyUiUrl: string, name: string, folder: string) =>
  startProcess({
    name,
    command: process.execPath,
    args: [fileURLToPath(new URL('./held-prompt.js', import.meta.url)), comfyUiUrl],
    logFile: join(folder, 'logs', `${name}.log`),
    readyWhen: line => /^listening (http:\S+)$/.exec(line)?.[1]
  })

const oneEach = (name: string, url: string): Way => {
  const agent = new Agent({ headersTimeout: 120_000 })
  return {
    name,
    run: async prompt => fetchPicture(agent, (await postJson(agent, url, '/prompt', { prompt })) as EndedPrompt),
    close: () => agent.destroy()
  }
}

const nginxConfig = (port: number, urls: readonly string[], folder: string): string => `
daemon off;
worker_processes 1;
pid ${folder}/nginx.pid;
error_log stderr notice;
events {}
http {
  access_log off;
${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(what => `  ${what}_temp_path ${folder}/${what};`).join('\n')}
  upstream comfyui {
    least_conn;
${urls.map(url => `    server ${hostOf(url)};`).join('\n')}
    keepalive 16;
  }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://comfyui;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
    }
  }
}
`

/** nginx with least connections on ComfyUI's own, asynchronous API. */
export const startNginx = async (comfyUiUrls: readonly string[], folder: string): Promise<Proxy> => {
  const command = findOnPath('nginx')
  if (!command) return absent('nginx')
  const [port, home] = [await freePort(), join(folder, 'nginx')]
  mkdirSync(home, { recursive: true })
  writeFileSync(join(home, 'nginx.conf'), nginxConfig(port, comfyUiUrls, home))
  const nginx = await startProcess({
    ...{ name: 'nginx', command, args: ['-e', 'stderr', '-p', home, '-c', join(home, 'nginx.conf')] },
    logFile: join(folder, 'logs', 'nginx.log'),
    readyWhen: line => (line.includes('start worker process') ? true : undefined)
  })
  const ways = [await atOnce('nginx, least_conn', `http://127.0.0.1:${port}`, comfyUiUrls)]
  return { version: `nginx ${await versionOf(command)}`, ways, close: () => closeAll(ways, [nginx]) }
}

const versionOf = async (command: string): Promise<string> => {
  const { stdout, stderr } = await promisify(execFile)(command, ['-v'])
  return /\d+\.\d+\.\d+/.exec(stdout + stderr)?.[0] ?? 'of an unknown version'
}
