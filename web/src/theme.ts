// Light, dark, or as the system has it. The choice is an attribute on the root; the colours are CSS alone.
import { read, write } from './kept';
import { Store } from './store';

export type Theme = 'system' | 'light' | 'dark';

const KEY = 'outport.theme';
const storage = () => localStorage;

export const theme = new Store<Theme>(stored());

theme.watch(() => {
  write(storage, KEY, theme.get());
  apply();
});

/** Puts the choice on the page. Called once before the first render, and on each change. */
export function apply(): void {
  const chosen = theme.get();
  if (chosen === 'system') delete document.documentElement.dataset['theme'];
  else document.documentElement.dataset['theme'] = chosen;
}

function stored(): Theme {
  const value = read(storage, KEY);
  return value === 'light' || value === 'dark' ? value : 'system';
}
