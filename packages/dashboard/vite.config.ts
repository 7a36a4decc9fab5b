import { defineConfig } from 'vite'

/** Addresses are relative, so that the page works behind any path prefix. */
export default defineConfig({
  base: './',
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  build: { outDir: '../dist/page', emptyOutDir: true, target: 'es2022', assetsInlineLimit: 0, modulePreload: false }
})
