// What the page says aloud: one polite live region, fed from anywhere.
import { Store } from './store';

export interface Announcement {
  text: string;
  /** Grows with each announcement, so that the same words are said again. */
  count: number;
}

export const announcement = new Store<Announcement>({ text: '', count: 0 });

export function announce(text: string): void {
  announcement.update(({ count }) => ({ text, count: count + 1 }));
}
